-- depends: 0010.sealed.expand

UPDATE log_format SET format = 2;

DROP FUNCTION append(uuid[], bigint[], text[], bytea[], uuid[], text[], uuid[], text[], text[], text[],
                     timestamptz[], bytea[], text[], text[], text[], bytea[], jsonb[]);
