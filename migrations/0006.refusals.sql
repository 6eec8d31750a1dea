-- depends: 0005.erasure

-- No vector: the model does not take this text. It is asked again when it is replayed to.
ALTER TABLE vectors ALTER COLUMN vector DROP NOT NULL;
CREATE INDEX vectors_refused ON vectors (owner, model, text_hash) WHERE vector IS NULL;
