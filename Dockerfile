FROM python:3.12-slim
WORKDIR /app
COPY requirements*.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
# Such as "code diagrams speech": what README's Chat names. They list all that they need.
ARG EXTRAS=""
RUN for extra in $EXTRAS; do \
    pip install --no-cache-dir --no-deps --require-hashes -r requirements-$extra.txt || exit 1; done
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && useradd --system everlog
USER everlog
ENV EVERLOG_HOST=0.0.0.0 EVERLOG_DATA_DIR=/tmp/everlog
ENTRYPOINT ["everlog"]
CMD ["api"]
