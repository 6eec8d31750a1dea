-- depends: 0003.extraction

-- What each owner's requests came to, a row a day: counted by the API, no matter of the log.
CREATE TABLE usage (
    owner        text   NOT NULL,
    day          date   NOT NULL,
    calls        bigint NOT NULL,
    searches     bigint NOT NULL,
    milliseconds double precision NOT NULL,            -- of all calls together
    PRIMARY KEY (owner, day)
);
