FROM python:3.12.13-slim-trixie
WORKDIR /app
COPY requirements*.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r requirements-diagrams.txt
# Such as "code speech": what README's Chat names. They list all that they need.
ARG EXTRAS=""
RUN for extra in $EXTRAS; do \
    pip install --no-cache-dir --no-deps --require-hashes -r requirements-$extra.txt || exit 1; done
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && groupadd --gid 10001 everlog && useradd --uid 10001 --gid everlog --no-create-home everlog
# By number: a platform that forbids root can see that it is not.
USER 10001:10001
ENV EVERLOG_HOST=0.0.0.0 EVERLOG_DATA_DIR=/tmp/everlog
ENTRYPOINT ["everlog"]
CMD ["api"]
