-- notifications_db. docs/protocol.md explains each table; the comments here say what the SQL can't.
-- The large tables are partitioned by the month of the notification's id (UUIDv7), so the primary key stays (id) and old
-- months are dropped whole.

CREATE TABLE request_key (
  client_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  hash BYTEA NOT NULL,
  hash_version SMALLINT NOT NULL,
  notification_id UUID NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (client_id, request_id)
) PARTITION BY HASH (client_id, request_id);

-- Rows come in the order of their age, so this small index finds the old ones.
CREATE INDEX request_key_age ON request_key USING brin (created_at);

DO $$
BEGIN
  FOR remainder IN 0..7 LOOP
    EXECUTE format('CREATE TABLE request_key_%s PARTITION OF request_key FOR VALUES WITH (MODULUS 8, REMAINDER %s)', remainder, remainder);
  END LOOP;
END $$;

-- Narrow and mutable: a lease or a status change rewrites this row, never the message.
CREATE TABLE notification (
  id UUID NOT NULL PRIMARY KEY,
  client_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  type TEXT NOT NULL CHECK (type IN ('email', 'push')),
  user_id UUID NOT NULL,
  template_code TEXT NOT NULL,
  template_version INTEGER NOT NULL,
  locale TEXT NOT NULL,
  priority SMALLINT NOT NULL CHECK (priority BETWEEN 1 AND 10),
  on_ambiguous TEXT NOT NULL CHECK (on_ambiguous IN ('resend', 'fail')),
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
  reason TEXT CHECK ((reason IS NOT NULL) = (status = 'failed')),
  -- Rises with every event of the feed.
  version INTEGER NOT NULL DEFAULT 1,
  due_at TIMESTAMPTZ NOT NULL,
  expires_at TIMESTAMPTZ,
  -- The fencing number: rises with every claim.
  token INTEGER NOT NULL DEFAULT 0,
  lease_until TIMESTAMPTZ,
  -- Claims in a row that ended without an attempt or an outcome.
  claims INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  -- How many of them were made before the last replay: what became of a device then does not count now.
  attempts_before INTEGER NOT NULL DEFAULT 0,
  -- Attempts that used up one try of the retry schedule.
  failures INTEGER NOT NULL DEFAULT 0,
  -- When the first of them in this run was: the schedule's end counts from here.
  failing_since TIMESTAMPTZ,
  -- An attempt of this run had an unknown outcome: whatever comes now, nobody can say that it was not delivered.
  may_have_arrived BOOLEAN NOT NULL DEFAULT false,
  address TEXT,
  contact_version INTEGER NOT NULL,
  -- Content of a sensitive template goes as soon as the notification ends.
  sensitive BOOLEAN NOT NULL DEFAULT false,
  -- How often it was put back into the outbox because nobody claimed it.
  requeues SMALLINT NOT NULL DEFAULT 0,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  -- Its content is kept for a time after this.
  ended_at TIMESTAMPTZ
) PARTITION BY RANGE (id);

CREATE INDEX notification_pending ON notification (due_at) WHERE status = 'pending';
CREATE INDEX notification_expiring ON notification (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;
CREATE INDEX notification_failed ON notification (client_id, id) WHERE status = 'failed';
CREATE INDEX notification_client ON notification (client_id, id);
CREATE INDEX notification_user ON notification (user_id, id);
CREATE INDEX notification_template ON notification (template_code, id);

-- Wide and immutable: exactly what will be sent, rendered when the send was accepted.
CREATE TABLE content (
  notification_id UUID NOT NULL PRIMARY KEY,
  message JSON NOT NULL,
  metadata JSON NOT NULL,
  correlation_id TEXT NOT NULL
) PARTITION BY RANGE (notification_id);

-- One hand-over to a provider. Open until finished_at; its outcome counts once applied_at is set. One claim may have several: the
-- next provider of the chain, the devices of another kind. class: what it came to by then, over all of the claim's targets.
CREATE TABLE attempt (
  notification_id UUID NOT NULL,
  number INTEGER NOT NULL,
  token INTEGER NOT NULL,
  provider TEXT NOT NULL,
  started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  finished_at TIMESTAMPTZ,
  class TEXT,
  reason TEXT,
  retry_after_seconds INTEGER,
  provider_message_id TEXT,
  -- [{target, class, reason}]; target: the e-mail address, or the id of a push token.
  results JSON,
  applied_at TIMESTAMPTZ,
  PRIMARY KEY (notification_id, number)
) PARTITION BY RANGE (notification_id);

-- OneSignal's events name its own message id only.
CREATE INDEX attempt_onesignal ON attempt (provider_message_id) WHERE provider = 'onesignal';

-- What happened, append-only.
CREATE TABLE timeline (
  notification_id UUID NOT NULL,
  id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  event TEXT NOT NULL,
  detail JSON,
  PRIMARY KEY (notification_id, id)
) PARTITION BY RANGE (notification_id);

-- What is to be published, and when. Rows are deleted by their own id: several of one notification may exist.
CREATE TABLE outbox (
  id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  notification_id UUID NOT NULL,
  key TEXT NOT NULL CHECK (key IN ('email', 'push', 'failed')),
  priority SMALLINT NOT NULL,
  due_at TIMESTAMPTZ NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

-- One range per key and priority: the relay's scan stops at the first row that is not due.
CREATE INDEX outbox_due ON outbox (key, priority, due_at, id);
CREATE INDEX outbox_notification ON outbox (notification_id);

-- Status changes waiting for their number. They are numbered after their commit, because commit order is not sequence order.
CREATE TABLE feed_in (
  id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  notification_id UUID NOT NULL,
  version INTEGER NOT NULL,
  type TEXT NOT NULL,
  user_id UUID NOT NULL,
  client_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  status TEXT NOT NULL,
  previous_status TEXT,
  reason TEXT,
  attempt INTEGER NOT NULL,
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- The feed: status changes in the order of their numbers, without holes. Kept 72 h.
CREATE TABLE feed (
  seq BIGINT NOT NULL PRIMARY KEY,
  notification_id UUID NOT NULL,
  version INTEGER NOT NULL,
  type TEXT NOT NULL,
  user_id UUID NOT NULL,
  client_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  status TEXT NOT NULL,
  previous_status TEXT,
  reason TEXT,
  attempt INTEGER NOT NULL,
  at TIMESTAMPTZ NOT NULL
) PARTITION BY RANGE (seq);

CREATE INDEX feed_notification ON feed (notification_id, seq);
CREATE INDEX feed_user ON feed (user_id, seq);
CREATE INDEX feed_request ON feed (client_id, request_id, seq);

-- epoch: a new one makes every cursor of before expire. origin: the cluster and timeline that the numbers were given on; a
-- restored backup or a promoted replica has another. floor: numbers start above it, also when every row is gone.
CREATE TABLE feed_state (
  only_row BOOLEAN NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  epoch UUID NOT NULL DEFAULT gen_random_uuid(),
  origin TEXT NOT NULL DEFAULT '',
  floor BIGINT NOT NULL DEFAULT 0
);
INSERT INTO feed_state DEFAULT VALUES;

-- How often what happened, by hour: one row, not one count over the notifications. Raised by number_events, one caller at a time.
-- No word about a user is in it. returned: had been delivered before.
CREATE TABLE status_count (
  hour TIMESTAMPTZ NOT NULL,
  client_id TEXT NOT NULL,
  type TEXT NOT NULL,
  what TEXT NOT NULL CHECK (what IN ('accepted', 'delivered', 'failed', 'returned', 'retry_scheduled', 'replayed', 'discarded')),
  reason TEXT CHECK ((reason IS NOT NULL) = (what IN ('failed', 'returned'))),
  count BIGINT NOT NULL,
  UNIQUE NULLS NOT DISTINCT (hour, client_id, type, what, reason)
) WITH (fillfactor = 50);

-- What must not be sent: to an address, to a user, or to a user from one template.
CREATE TABLE suppression (
  id UUID NOT NULL PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('email', 'push')),
  address TEXT,
  user_id UUID,
  template_code TEXT,
  reason TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CHECK ((address IS NULL) <> (user_id IS NULL)),
  CHECK (template_code IS NULL OR user_id IS NOT NULL),
  UNIQUE NULLS NOT DISTINCT (type, address, user_id, template_code)
);
CREATE INDEX suppression_user ON suppression (user_id) WHERE user_id IS NOT NULL;

-- Push tokens that a provider said are dead: nothing goes to them again, whether or not the user service has heard of it.
CREATE TABLE dead_token (
  token_id UUID NOT NULL PRIMARY KEY,
  user_id UUID NOT NULL,
  reason TEXT,
  at TIMESTAMPTZ NOT NULL DEFAULT now(),
  told_at TIMESTAMPTZ
);
CREATE INDEX dead_token_untold ON dead_token (at) WHERE told_at IS NULL;

-- What providers have told already: they repeat what they got no answer for. Kept 30 days.
CREATE TABLE feedback_seen (
  provider TEXT NOT NULL,
  event_id TEXT NOT NULL,
  seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (provider, event_id)
);
CREATE INDEX feedback_seen_age ON feedback_seen USING brin (seen_at);

-- Users who were deleted: nothing is accepted for them any more, and of what was, no word about them is kept.
-- Whoever writes such words reads this with FOR KEY SHARE, and erase-user.ts inserts under an EXCLUSIVE lock of the table. So a
-- transaction either sees the user here or has ended before the erasure looks for what there is to erase.
CREATE TABLE erased_user (
  user_id UUID NOT NULL PRIMARY KEY,
  at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- When the next of a viewer's replays by filter may become due, at the rate of the calls so far.
CREATE TABLE replay_pace (
  viewer_id TEXT NOT NULL PRIMARY KEY,
  next_at TIMESTAMPTZ NOT NULL
);

-- How the workers see their providers.
CREATE TABLE provider_state (
  worker TEXT NOT NULL,
  type TEXT NOT NULL,
  provider TEXT NOT NULL,
  -- In the chain of its worker: the first is tried first.
  place SMALLINT NOT NULL DEFAULT 0,
  state TEXT NOT NULL CHECK (state IN ('closed', 'half_open', 'open', 'paused')),
  reason TEXT,
  changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (worker, type, provider)
);

-- The name of the queue that proves that the broker still holds what was published to it.
CREATE TABLE broker_mark (
  only_row BOOLEAN NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  mark UUID NOT NULL
);

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION uuid_floor(moment TIMESTAMPTZ) RETURNS UUID
LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes one partition, unless it is there. A table made as a partition would lock its parent against everybody, and one idle reader
-- would hold up all others behind it; made by itself and attached, it stands in nobody's way.
CREATE FUNCTION ensure_partition(parent TEXT, part TEXT, lowest TEXT, beyond TEXT) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(format('%I', part)) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM set_config('lock_timeout', '500ms', true);
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING IDENTITY)', part, parent);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, lowest, beyond);
  IF parent = 'notification' THEN
    -- Room on each page, so that a lease update stays on it.
    EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', part);
  END IF;
END $$;

-- Makes the partitions of the month that a moment lies in.
CREATE FUNCTION ensure_month(moment TIMESTAMPTZ) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  month TIMESTAMPTZ := date_trunc('month', moment, 'UTC');
  parent TEXT;
BEGIN
  FOREACH parent IN ARRAY ARRAY['notification', 'content', 'attempt', 'timeline'] LOOP
    PERFORM ensure_partition(parent, parent || to_char(month AT TIME ZONE 'UTC', '_YYYY_MM'),
      uuid_floor(month)::text, uuid_floor(month + interval '1 month')::text);
  END LOOP;
END $$;

-- Makes the monthly partitions from last month to three months ahead. Call it at start and daily.
CREATE FUNCTION ensure_partitions() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7201126);
  FOR ahead IN -1..3 LOOP
    PERFORM ensure_month(date_trunc('month', now(), 'UTC') + make_interval(months => ahead));
  END LOOP;
END $$;

SELECT ensure_partitions();

-- Whether anything in a month is pending or still to be published.
CREATE FUNCTION is_month_needed(suffix TEXT) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
DECLARE
  month TIMESTAMPTZ := to_timestamp(suffix || ' UTC', '_YYYY_MM TZ');
  is_pending BOOLEAN;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE status = ''pending'')', 'notification' || suffix) INTO is_pending;
  RETURN is_pending OR EXISTS (
    SELECT FROM outbox WHERE notification_id >= uuid_floor(month) AND notification_id < uuid_floor(month + interval '1 month'));
END $$;

-- Drops months older than so many, each only when nothing in it is pending or still to be published. Returns how many.
CREATE FUNCTION drop_old_months(keep INTEGER) RETURNS INTEGER
LANGUAGE plpgsql AS $$
DECLARE
  oldest TEXT := to_char(date_trunc('month', now(), 'UTC') - make_interval(months => keep), '_YYYY_MM');
  month TEXT;
  dropped INTEGER := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7201126);
  -- Dropping waits for every reader, and everybody behind it; so rather the next hour. It is less than deadlock_timeout, so that
  -- nobody else is the one who gives up.
  PERFORM set_config('lock_timeout', '500ms', true);
  FOR month IN
    SELECT right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'notification'::regclass AND right(c.relname, 8) < oldest ORDER BY 1
  LOOP
    CONTINUE WHEN is_month_needed(month);
    LOCK TABLE ONLY notification, ONLY content, ONLY attempt, ONLY timeline IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE %I, %I, %I, %I IN ACCESS EXCLUSIVE MODE',
      'notification' || month, 'content' || month, 'attempt' || month, 'timeline' || month);
    -- A replay may have been quicker.
    CONTINUE WHEN is_month_needed(month);
    EXECUTE format('DROP TABLE %I, %I, %I, %I', 'notification' || month, 'content' || month, 'attempt' || month, 'timeline' || month);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END $$;

-- Makes the feed's partition that holds a number, a million numbers each.
CREATE FUNCTION ensure_feed_partition(number BIGINT) RETURNS void
LANGUAGE sql AS $$
  SELECT ensure_partition('feed', 'feed_' || number / 1000000, (number / 1000000 * 1000000)::text, ((number / 1000000 + 1) * 1000000)::text)
$$;

-- Makes the feed's partitions for the next three million numbers. Call it at start and hourly.
CREATE FUNCTION ensure_feed_partitions() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  -- As number_events does, so that not both make one.
  PERFORM pg_advisory_xact_lock(7201129);
  PERFORM ensure_feed_partition(greatest((SELECT max(seq) FROM feed), floor) + ahead * 1000000)
  FROM feed_state, generate_series(0, 3) AS ahead;
END $$;

SELECT ensure_feed_partitions();

-- Drops the feed's partitions below the newest number that purging has emptied. Returns how many.
CREATE FUNCTION drop_empty_feed_partitions() RETURNS INTEGER
LANGUAGE plpgsql AS $$
DECLARE
  newest BIGINT;
  part REGCLASS;
  has_rows BOOLEAN;
  dropped INTEGER := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7201129);
  PERFORM set_config('lock_timeout', '500ms', true);
  SELECT greatest((SELECT max(seq) FROM feed), floor) / 1000000 INTO newest FROM feed_state;
  FOR part IN
    SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'feed'::regclass AND substr(c.relname, 6)::bigint < newest ORDER BY substr(c.relname, 6)::bigint
  LOOP
    -- Nothing is numbered into it any more, so what is empty stays empty.
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', part) INTO has_rows;
    EXIT WHEN has_rows;
    EXECUTE format('DROP TABLE %s', part);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END $$;

-- Numbers the oldest status changes that wait, without holes, counts them, and returns them. Only one caller at a time does; the others
-- get nothing. It must run in a transaction of its own: the numbers are the order in which readers see them.
CREATE FUNCTION number_events(most INTEGER) RETURNS SETOF feed
LANGUAGE plpgsql AS $$
DECLARE
  head BIGINT;
BEGIN
  IF NOT pg_try_advisory_xact_lock(7201129) THEN
    RETURN;
  END IF;
  SELECT greatest((SELECT max(seq) FROM feed), floor) INTO head FROM feed_state;
  -- They are there, unless nobody has called ensure_feed_partitions for millions of events.
  PERFORM ensure_feed_partition(head + 1);
  PERFORM ensure_feed_partition(head + most);
  RETURN QUERY
    WITH oldest AS (DELETE FROM feed_in WHERE id IN (SELECT id FROM feed_in ORDER BY id LIMIT most) RETURNING *),
    named AS (
      SELECT date_trunc('hour', o.at, 'UTC') AS hour, o.client_id, o.type, o.reason, CASE
        WHEN o.previous_status IS NULL THEN 'accepted'
        WHEN o.status = 'delivered' THEN 'delivered'
        WHEN o.status = 'failed' THEN CASE o.previous_status WHEN 'failed' THEN 'discarded' WHEN 'delivered' THEN 'returned' ELSE 'failed' END
        WHEN o.previous_status = 'failed' THEN 'replayed'
        ELSE 'retry_scheduled'
      END AS what
      FROM oldest o),
    counted AS (
      INSERT INTO status_count AS c (hour, client_id, type, what, reason, count)
      SELECT hour, client_id, type, what, CASE WHEN what IN ('failed', 'returned') THEN reason END, count(*) FROM named GROUP BY 1, 2, 3, 4, 5
      ON CONFLICT (hour, client_id, type, what, reason) DO UPDATE SET count = c.count + excluded.count)
    INSERT INTO feed (seq, notification_id, version, type, user_id, client_id, request_id, status, previous_status, reason, attempt, at)
    SELECT head + row_number() OVER (ORDER BY o.id), o.notification_id, o.version, o.type, o.user_id, o.client_id, o.request_id,
      o.status, o.previous_status, o.reason, o.attempt, o.at
    FROM oldest o ORDER BY o.id
    RETURNING *;
END $$;

-- Starts a new epoch when this database is not the one that gave the last numbers. Returns the epoch.
CREATE FUNCTION check_feed_epoch() RETURNS UUID
LANGUAGE plpgsql AS $$
DECLARE
  here TEXT;
  result UUID;
BEGIN
  SELECT (SELECT system_identifier FROM pg_control_system()) || ':' || (SELECT timeline_id FROM pg_control_checkpoint()) INTO here;
  UPDATE feed_state SET origin = here, epoch = CASE WHEN origin = '' THEN epoch ELSE gen_random_uuid() END WHERE origin <> here;
  SELECT epoch INTO result FROM feed_state;
  RETURN result;
END $$;

-- The worker's functions. Each locks its rows in the order of their ids first, so that two of them can't deadlock.

-- Those of the targets that nothing may be sent to, and why: [{id, why: suppressed | dead}]; null for none.
-- targets: [{id, token}] of push tokens, or [{id, address}] of mailboxes.
CREATE FUNCTION unreachable_targets(channel TEXT, targets JSON) RETURNS JSON
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT json_agg(json_build_object('id', target.id, 'why', target.why)) FROM (
    SELECT t.id, CASE
      WHEN EXISTS (SELECT FROM suppression s WHERE s.type = channel AND s.address = coalesce(t.token, lower(t.address))) THEN 'suppressed'
      WHEN channel = 'push' AND EXISTS (SELECT FROM dead_token d WHERE d.token_id = t.id::uuid) THEN 'dead'
    END AS why
    FROM json_to_recordset(targets) AS t (id TEXT, token TEXT, address TEXT)) AS target
  WHERE target.why IS NOT NULL
$$;

-- Gives a worker the right to notifications of its channel that are pending, due and not leased. An early or repeated job gets no
-- row; an id that no notification of the channel has gets a row of nothing else.
-- A lease that ran out is the sweeper's: its attempt may have an outcome. A row that somebody holds is waited for: skipped, its job
-- would be acked and gone. settled: devices that need no other try in this run, [{target, class}].
CREATE FUNCTION claim_jobs(channel TEXT, ids UUID[], lease_seconds INTEGER)
RETURNS TABLE (
  id UUID, token INTEGER, type TEXT, user_id UUID, contact_version INTEGER, correlation_id TEXT, message JSON,
  is_expired BOOLEAN, is_suppressed BOOLEAN, unreachable JSON, settled JSON)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH due AS (
    SELECT n.id FROM notification n
    -- The bounds spare the months that hold none of the ids.
    WHERE n.id = ANY (ids)
      AND n.id BETWEEN (SELECT i FROM unnest(ids) AS i ORDER BY i LIMIT 1) AND (SELECT i FROM unnest(ids) AS i ORDER BY i DESC LIMIT 1)
      AND n.type = channel AND n.status = 'pending' AND n.due_at <= now() AND n.lease_until IS NULL
    ORDER BY n.id FOR UPDATE OF n),
  claimed AS (
    UPDATE notification n
    SET token = n.token + 1, claims = n.claims + 1, requeues = 0, lease_until = now() + make_interval(secs => lease_seconds), updated_at = now()
    FROM due WHERE n.id = due.id
    RETURNING n.*)
  SELECT claimed.id, claimed.token, claimed.type, claimed.user_id, claimed.contact_version, content.correlation_id, content.message,
    coalesce(claimed.expires_at <= now(), false),
    EXISTS (
      SELECT FROM suppression s WHERE s.type = claimed.type AND s.user_id = claimed.user_id
        AND (s.template_code IS NULL OR s.template_code = claimed.template_code)),
    unreachable_targets(claimed.type, CASE claimed.type
      WHEN 'push' THEN content.message->'tokens'
      ELSE json_build_array(json_build_object('id', claimed.address, 'address', claimed.address)) END),
    CASE WHEN claimed.attempts > claimed.attempts_before THEN (
      SELECT json_agg(json_build_object('target', result->>'target', 'class', result->>'class'))
      FROM attempt a, json_array_elements(a.results) AS result
      WHERE a.notification_id = claimed.id AND a.number > claimed.attempts_before
        AND result->>'class' IN ('accepted', 'permanent', 'address_dead')) END
  FROM claimed LEFT JOIN content ON content.notification_id = claimed.id
  UNION ALL
  SELECT rest.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM (SELECT unnest(ids) AS id EXCEPT SELECT due.id FROM due) AS rest
  WHERE NOT EXISTS (SELECT FROM notification n WHERE n.id = rest.id AND n.type = channel)
$$;

-- Opens an attempt where the token is still the caller's, the lease holds, and the message may still be sent: the claim may be as
-- old as a provider takes to answer. No row back, or one that says why it was refused (EXPIRED SUPPRESSED ERASED), means: do not send.
-- Each item: {id, token, provider, ended}; ended is the outcome of the attempt before it under the same claim, or null:
-- {class, reason, retry_after_seconds, provider_message_id, results}.
CREATE FUNCTION start_attempts(starts JSON, lease_seconds INTEGER)
RETURNS TABLE (id UUID, token INTEGER, number INTEGER, refused TEXT)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH wanted AS (SELECT * FROM json_to_recordset(starts) AS w (id UUID, token INTEGER, provider TEXT, ended JSON)),
  mine AS (
    SELECT n.id, n.token, CASE
      WHEN n.expires_at <= now() THEN 'EXPIRED'
      WHEN EXISTS (
        SELECT FROM suppression s WHERE s.type = n.type AND s.user_id = n.user_id
          AND (s.template_code IS NULL OR s.template_code = n.template_code)) THEN 'SUPPRESSED'
      WHEN EXISTS (SELECT FROM erased_user e WHERE e.user_id = n.user_id FOR KEY SHARE)
        OR NOT EXISTS (SELECT FROM content WHERE content.notification_id = n.id) THEN 'ERASED'
    END AS refused
    FROM notification n JOIN wanted ON wanted.id = n.id AND wanted.token = n.token
    WHERE n.status = 'pending' AND n.lease_until > now()
    ORDER BY n.id FOR UPDATE OF n),
  extended AS (
    UPDATE notification n
    SET attempts = n.attempts + 1, claims = 0, lease_until = now() + make_interval(secs => lease_seconds), updated_at = now()
    FROM mine WHERE n.id = mine.id AND mine.refused IS NULL
    RETURNING n.id, n.token, n.attempts, n.type, n.user_id),
  closed AS (
    UPDATE attempt a
    SET finished_at = clock_timestamp(), class = w.ended->>'class', reason = left(w.ended->>'reason', 2000),
      retry_after_seconds = least((w.ended->>'retry_after_seconds')::numeric, 86400)::integer, provider_message_id = w.ended->>'provider_message_id',
      results = w.ended->'results'
    FROM extended JOIN wanted w ON w.id = extended.id AND w.token = extended.token
    WHERE w.ended IS NOT NULL AND a.notification_id = extended.id AND a.token = extended.token AND a.finished_at IS NULL),
  buried AS (
    INSERT INTO dead_token (token_id, user_id, reason)
    SELECT DISTINCT ON (result->>'target') (result->>'target')::uuid, extended.user_id, result->>'reason'
    FROM extended JOIN wanted w ON w.id = extended.id AND w.token = extended.token, json_array_elements(w.ended->'results') AS result
    WHERE extended.type = 'push' AND result->>'class' = 'address_dead'
    ORDER BY result->>'target'
    ON CONFLICT DO NOTHING),
  opened AS (
    INSERT INTO attempt (notification_id, number, token, provider)
    SELECT extended.id, extended.attempts, extended.token, w.provider
    FROM extended JOIN wanted w ON w.id = extended.id AND w.token = extended.token),
  noted AS (
    INSERT INTO timeline (notification_id, event, detail)
    SELECT extended.id, entry.event, entry.detail
    FROM extended JOIN wanted w ON w.id = extended.id AND w.token = extended.token, LATERAL (VALUES
      (1, 'ATTEMPT_ENDED', json_strip_nulls(json_build_object('class', w.ended->>'class', 'reason', left(w.ended->>'reason', 2000),
        'providerMessageId', w.ended->>'provider_message_id'))),
      (2, 'ATTEMPT_STARTED', json_build_object('attempt', extended.attempts, 'provider', w.provider))
    ) AS entry (place, event, detail)
    WHERE entry.place = 2 OR w.ended IS NOT NULL
    ORDER BY extended.id, entry.place)
  SELECT mine.id, mine.token, extended.attempts, mine.refused FROM mine LEFT JOIN extended ON extended.id = mine.id
$$;

-- Keeps outcomes that could not be reported, in the attempt they belong to; the sweeper applies them. Of a deleted user's only the class.
-- Each item: {notification_id, token, class, reason, retry_after_seconds, provider_message_id, results}. Returns those kept.
CREATE FUNCTION keep_outcomes(outcomes JSON)
RETURNS TABLE (id UUID, token INTEGER)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH given AS (
    SELECT * FROM json_to_recordset(outcomes) AS g (
      notification_id UUID, token INTEGER, class TEXT, reason TEXT, retry_after_seconds INTEGER, provider_message_id TEXT, results JSON)),
  open_attempt AS (
    SELECT a.notification_id, a.number,
      EXISTS (
        SELECT FROM notification n JOIN erased_user e ON e.user_id = n.user_id WHERE n.id = a.notification_id FOR KEY SHARE OF e
      ) AS is_erased
    FROM attempt a JOIN given USING (notification_id, token)
    WHERE a.finished_at IS NULL
    ORDER BY a.notification_id, a.number FOR UPDATE OF a)
  UPDATE attempt a
  SET finished_at = clock_timestamp(), class = given.class, reason = CASE WHEN NOT is_erased THEN given.reason END,
    retry_after_seconds = given.retry_after_seconds, provider_message_id = given.provider_message_id,
    results = CASE WHEN NOT is_erased THEN given.results END
  FROM open_attempt, given
  WHERE a.notification_id = open_attempt.notification_id AND a.number = open_attempt.number
    AND given.notification_id = a.notification_id AND given.token = a.token
  RETURNING a.notification_id, a.token
$$;

-- Gives claims back that led to no hand-over and that could not be reported: due again after the delay.
CREATE FUNCTION release_claims(ids UUID[], tokens INTEGER[], delay_ms INTEGER)
RETURNS TABLE (id UUID)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH wanted AS (SELECT * FROM unnest(ids, tokens) AS w (id, token)),
  mine AS (
    SELECT n.id FROM notification n JOIN wanted ON wanted.id = n.id
    WHERE n.status = 'pending' AND n.token = wanted.token AND n.lease_until IS NOT NULL
      AND NOT EXISTS (SELECT FROM attempt a WHERE a.notification_id = n.id AND a.token = n.token)
    ORDER BY n.id FOR UPDATE OF n),
  released AS (
    UPDATE notification n
    SET lease_until = NULL, claims = 0, due_at = now() + delay_ms * interval '1 millisecond', updated_at = now()
    FROM mine WHERE n.id = mine.id
    RETURNING n.id, n.type, n.priority, n.due_at),
  queued AS (
    INSERT INTO outbox (notification_id, key, priority, due_at)
    SELECT released.id, released.type, released.priority, released.due_at FROM released)
  SELECT released.id FROM released
$$;

-- A worker says how it sees its provider; once a while also without a change, so that a worker that is gone is noticed.
CREATE FUNCTION note_provider(worker TEXT, type TEXT, provider TEXT, state TEXT, reason TEXT, place INTEGER DEFAULT 0) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO provider_state AS p (worker, type, provider, state, reason, place) VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (worker, type, provider) DO UPDATE
  SET place = excluded.place, state = excluded.state, reason = excluded.reason, seen_at = now(),
    changed_at = CASE WHEN p.state = excluded.state THEN p.changed_at ELSE now() END
$$;

-- Acts of people who may change what is not theirs: who, what, when, from where. A row is written before the act, and its outcome after it;
-- nothing else of it ever changes.
CREATE TABLE audit (
  id UUID NOT NULL PRIMARY KEY,
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  action TEXT NOT NULL,
  viewer_kind TEXT NOT NULL,
  viewer_id TEXT NOT NULL,
  key_id TEXT,
  address TEXT,
  request_id TEXT NOT NULL,
  target JSON NOT NULL,
  outcome TEXT
);

CREATE FUNCTION keep_audit() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.outcome IS NULL AND to_jsonb(NEW) - 'outcome' = to_jsonb(OLD) - 'outcome' THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'the audit trail is only added to';
END $$;
CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep_audit();

-- Workers may call these and change nothing else.
DO $$
BEGIN
  CREATE ROLE herald_worker NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO herald_worker;
GRANT EXECUTE ON FUNCTION claim_jobs, start_attempts, keep_outcomes, release_claims, unreachable_targets, note_provider TO herald_worker;
