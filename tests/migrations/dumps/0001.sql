-- Made by make_dumps.py: as the program of c6c9109 left it.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA everlog;
CREATE FUNCTION everlog.append(stream_ids uuid[], versions bigint[], types text[], payloads bytea[], event_ids uuid[], owners text[], subject_ids uuid[], actors text[], causes text[], correlations text[], occurred timestamp with time zone[], digests bytea[], receipt_owners text[], receipt_actors text[], receipt_keys text[], receipt_fingerprints bytea[], receipt_results jsonb[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    head  bigint;
    link  bytea;
    links bytea[] := '{}';
    digest bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.events', 0));
    SELECT e.position, e.link INTO head, link FROM events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    link := coalesce(link, '\x');
    FOREACH digest IN ARRAY digests LOOP
        link := sha256(link || digest);
        links := links || link;
    END LOOP;
    INSERT INTO events (position, stream_id, version, type, payload, event_id, owner, subject_id, actor, cause,
                        correlation, occurred_at, link)
    SELECT head + n, s, v, t, p, i, o, u, a, c, r, w, l
    FROM unnest(stream_ids, versions, types, payloads, event_ids, owners, subject_ids, actors, causes,
                correlations, occurred, links) WITH ORDINALITY AS e(s, v, t, p, i, o, u, a, c, r, w, l, n);
    INSERT INTO receipts (owner, actor, key, fingerprint, results)
    SELECT * FROM unnest(receipt_owners, receipt_actors, receipt_keys, receipt_fingerprints, receipt_results);
    IF cardinality(digests) > 0 THEN
        PERFORM pg_notify(current_schema() || '_log', (head + cardinality(digests))::text);
    END IF;
    RETURN head + 1;
END
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE everlog._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE everlog._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE everlog._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE everlog.events (
    "position" bigint NOT NULL,
    stream_id uuid NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    event_id uuid NOT NULL,
    owner text NOT NULL,
    subject_id uuid,
    actor text NOT NULL,
    cause text NOT NULL,
    correlation text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    link bytea NOT NULL
);
CREATE TABLE everlog.receipts (
    owner text NOT NULL,
    actor text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    results jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE everlog.subjects (
    subject_id uuid NOT NULL,
    owner text NOT NULL,
    name_hash bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE everlog.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO everlog._yoyo_migration VALUES
	('d042c4d92e5119a0a4ffb1b20fd65258d9c8e500b18e5ee1609c5fb752181650', '0001.log', '2026-12-01 01:17:58.228447');
INSERT INTO everlog._yoyo_version VALUES
	(2, '2026-12-01 01:17:57.988663');
INSERT INTO everlog.events VALUES
	(1, '75c48dcd-db86-5de7-9734-d52e3f96d9b2', 1, 'owner.created.v1', '\x2e712604fd3ca264880f96eba6140570de7ec2740a2633fdc3144bfe8f97d8fa1356d06d6e76b171561817338dfda9737c8a58bf55bef493fc9a17cdd2b663cf', '01a22f2e-1ee3-74ff-a838-a127dd5e2640', 'default', '01a22f2e-1ed5-788b-9122-ba0911f1b260', 'operator', '01a22f2e-1e9c-7496-b0f0-cc2259ca7af7', '', '2026-12-01 01:18:01.443335+00', '2026-12-01 01:18:01.45111+00', '\xca6699373170fcb901ef0877a6f58575153d905e41ebf940bf79c9771deaa914'),
	(2, 'fead59f8-9071-abeb-aee2-4d8f0199faa7', 1, 'key.created.v1', '\xd7405a5f389cfc31e09d6e0b0c192a76c6db0497684d929aaa552bf756a755786e76ec9981bce3634e47c95da443257df78125152525c8742b820ba0a66d54fa5b9cc8312484b06bd124c623aac2fa46b8238bd295652af99c757700e3d8f9', '01a22f2e-1f01-7b39-a8a8-77d3d2a13e18', 'default', '01a22f2e-1ed5-788b-9122-ba0911f1b260', 'operator', '01a22f2e-1f01-75b1-af71-c5069a82066b', '', '2026-12-01 01:18:01.473712+00', '2026-12-01 01:18:01.476911+00', '\xa26aca170b3cbc0512a7f6d73239520260902ff3e2e45569e9e365c5409a1274'),
	(3, '01a22f2e-4689-7e94-9fa1-1466c5c9b72c', 1, 'memory.added.v1', '\x9af5494af6dd38a6725c13fc882e3f5c1190c99181ecf3abf55eb7d7b1b971c88c9e46bbf89bcaab8210ce50ae6c9b6a613fee66f0b498a54c64fc570322ba19d1da1bb754169a876e5b290069fe5f1c026f808ad4128fe444a5a11edbd06e1eda62b22539ee0ab6d45a1adcb8e716f75387cc98bf720b8e67641decdd934275487fc749b597196f30979901682b9ff86f1cdae584224f3d91ab6e996bcbee', '01a22f2e-4695-7702-9c5e-3848ac93dc8d', 'default', '01a22f2e-4696-768c-b2b5-21d66c60dfed', 'key_fead59f89071abebaee24d8f0199faa7', '01a22f2e-468f-7455-b33a-a259d7f89993', '01a22f2e-467d-7aee-bab7-8086ceb44cb7', '2026-12-01 01:18:11.605454+00', '2026-12-01 01:18:11.613142+00', '\xd0ffef8e20c5700a81582db1c4543412f64ab9b21d65a51137550dcd4192666c'),
	(4, '01a22f2e-46ac-7ebf-986b-ab79ca1120d2', 1, 'memory.added.v1', '\x559441418b5baabad35d6e5d3fbe17a3b0be336f6827c2e78ebe2c877d832d6d040fd249857ea54b36a28998ec7c46c2614206a123f3c89b2b4b4674b1f35b5a92c1ec0bf25652a91c80635d57fa4e190d3b13afb5ca8d148895ced9b387d913bc82de7968e74804b503b428b9fd493feda3eeb0fa324909642d1d34d5344acded16135c92ee3d1724e1f6ab623f', '01a22f2e-46ae-742f-9498-4fbdcb9e9fbd', 'default', '01a22f2e-4696-768c-b2b5-21d66c60dfed', 'key_fead59f89071abebaee24d8f0199faa7', '01a22f2e-46ac-7f08-92e1-43e08b9e6414', '01a22f2e-46ac-7992-beb1-92c7b88dc409', '2026-12-01 01:18:11.630275+00', '2026-12-01 01:18:11.63227+00', '\xac2c612a6e4149adbfc24c4ca8d06ea6ee9c1a9cce80c2d62d039c684f89da07'),
	(5, '01a22f2e-46c9-7e77-b300-a4d5a1b35740', 1, 'memory.added.v1', '\x0288215f9bbc61d593b8255c7e3fd9822beb4df44c4fdc2a11927f022fadd13403c0b0ddef3cac17032669061151e5fa33cc06a76c7d7bfc7d4996ec8951b1609d206c2a87e5b0908a5aebc5f65fe73fb8d0a5a4c1143f1abe82959f9fe78ff8ed01cea0ada9159b6e1dab5a9d4aeef1af94', '01a22f2e-46ce-73f9-8233-63fd5b4c1920', 'default', '01a22f2e-4696-768c-b2b5-21d66c60dfed', 'key_fead59f89071abebaee24d8f0199faa7', '01a22f2e-46c9-7eae-a9e9-2cfa4d29df8f', '01a22f2e-46c9-7965-aae1-8681c1cc90b4', '2026-12-01 01:18:11.662263+00', '2026-12-01 01:18:11.681032+00', '\xdac1349df86e4ed8a207d9ca9340b8f75cffabbcba66562b18987f00dbc25a02'),
	(6, '01a22f2e-4689-7e94-9fa1-1466c5c9b72c', 2, 'memory.updated.v1', '\x505f7d3e27792d99f45705deb24118dda4d7e1cf019ca39252ed48f0d01824c8a5e728047eaf0a9fe1b6231f4faa4f31fc162ec8dfdaf616a07484435f37086469e2ab8aa6a41ff6a2d0677ca2', '01a22f2e-46ed-7174-8f45-4ba2db7d2e03', 'default', '01a22f2e-4696-768c-b2b5-21d66c60dfed', 'key_fead59f89071abebaee24d8f0199faa7', '01a22f2e-46e7-7ece-bf7c-187fbde092a7', '01a22f2e-46e7-7234-b61c-0649435923c6', '2026-12-01 01:18:11.693101+00', '2026-12-01 01:18:11.694049+00', '\x225da68b550434624358b61fe4bba789ace9ab87556df5bc851fd06b71e25829'),
	(7, '01a22f2e-46c9-7e77-b300-a4d5a1b35740', 2, 'memory.deleted.v1', '\x5cb62c63d11ff7f81708fddf128b8de6f7a99f0277f7b46693d498e14750', '01a22f2e-46fd-7d01-a530-6d628157fe0f', 'default', '01a22f2e-4696-768c-b2b5-21d66c60dfed', 'key_fead59f89071abebaee24d8f0199faa7', '01a22f2e-46fa-7ed0-993c-1c026fa7ae81', '01a22f2e-46fa-77fe-8100-b8ab8d5914c0', '2026-12-01 01:18:11.709823+00', '2026-12-01 01:18:11.710616+00', '\x58cc1cd97bb1e94793ae56309d42024641587b31b729029ff8c7d92505145651');
INSERT INTO everlog.receipts VALUES
	('default', 'key_fead59f89071abebaee24d8f0199faa7', 'Ann likes green tea', '\x69b32d5909084c6746bb0831bc5aaeb0f80b7519bc1a9671c0243a6e10809b26', '[["01a22f2e-4689-7e94-9fa1-1466c5c9b72c", 1]]', '2026-12-01 01:18:11.610465+00'),
	('default', 'key_fead59f89071abebaee24d8f0199faa7', 'Ann goes hiking on Sundays', '\x5cfdf0fe72b77a62bc277091bd0dfe5831a9926dd6ae04423dd31b82b97894be', '[["01a22f2e-46ac-7ebf-986b-ab79ca1120d2", 1]]', '2026-12-01 01:18:11.632043+00'),
	('default', 'key_fead59f89071abebaee24d8f0199faa7', 'Ann lives in Oslo', '\x97bd1791111ff4ba16e73e17063577c32a19b2c0a6a8debd52c814caf46d8f73', '[["01a22f2e-46c9-7e77-b300-a4d5a1b35740", 1]]', '2026-12-01 01:18:11.680783+00');
INSERT INTO everlog.subjects VALUES
	('01a22f2e-1ed5-788b-9122-ba0911f1b260', 'default', '\xb27b0579120725bfa11e5dbf97d7cf9b725d168a8860cba8dc0081d4fe5c76fd', '\xa40712fdcc37e4c9b59e92fa9ee24ebd90cff5f9245427c479b5515d24974a424afbe8c90bbc45bbe631fb811a6eb4ac8de47294a0f755e5f4381868', '2026-12-01 01:18:01.433259+00'),
	('01a22f2e-4696-768c-b2b5-21d66c60dfed', 'default', '\x3d265009f31218bd617bde4812dcc36e6facceb77dbfed9ccee22dd28417126c', '\x636b4d9c4cecc90147197a8da2497668dfc0d628f6668755a1b334b5d304bcce425eb58cfb6fdb91a6c423659484452152609a833ad450cc2176fe73', '2026-12-01 01:18:11.606673+00');
ALTER TABLE ONLY everlog._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY everlog._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY everlog._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY everlog.events
    ADD CONSTRAINT events_event_id_key UNIQUE (event_id);
ALTER TABLE ONLY everlog.events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY everlog.events
    ADD CONSTRAINT events_stream_id_version_key UNIQUE (stream_id, version);
ALTER TABLE ONLY everlog.receipts
    ADD CONSTRAINT receipts_pkey PRIMARY KEY (owner, actor, key);
ALTER TABLE ONLY everlog.subjects
    ADD CONSTRAINT subjects_owner_name_hash_key UNIQUE (owner, name_hash);
ALTER TABLE ONLY everlog.subjects
    ADD CONSTRAINT subjects_pkey PRIMARY KEY (subject_id);
ALTER TABLE ONLY everlog.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX events_of_keys ON everlog.events USING btree ("position") WHERE (type ~~ 'key.%'::text);
CREATE INDEX events_of_owner ON everlog.events USING btree (owner, "position");
CREATE INDEX events_of_subject ON everlog.events USING btree (subject_id, "position");
CREATE INDEX receipts_by_age ON everlog.receipts USING btree (created_at);
