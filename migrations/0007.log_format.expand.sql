-- depends: 0006.refusals

-- Which events may be in this log: those that programs of this log format write (domain/eventstore/formats.py).
-- Only contract steps raise it.
CREATE TABLE log_format (
    format int     NOT NULL CHECK (format >= 1),
    one    boolean PRIMARY KEY DEFAULT true CHECK (one)  -- row
);
INSERT INTO log_format (format) VALUES (1);
