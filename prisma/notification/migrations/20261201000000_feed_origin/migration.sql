-- Starts a new epoch when this database is not the one that gave the last numbers: another cluster or timeline, another database of the
-- same cluster, or the same one with its tables made anew, as pg_restore does. Returns the epoch.
CREATE OR REPLACE FUNCTION check_feed_epoch() RETURNS UUID
LANGUAGE plpgsql AS $$
DECLARE
  -- As it was told up to 0.1.0: the same place, in fewer words.
  before TEXT := (SELECT system_identifier FROM pg_control_system()) || ':' || (SELECT timeline_id FROM pg_control_checkpoint());
  here TEXT := before || ':' || (SELECT oid FROM pg_database WHERE datname = current_database()) || ':' || 'feed_state'::regclass::oid;
  result UUID;
BEGIN
  UPDATE feed_state SET origin = here, epoch = CASE WHEN origin IN ('', before) THEN epoch ELSE gen_random_uuid() END WHERE origin <> here;
  SELECT epoch INTO result FROM feed_state;
  RETURN result;
END $$;
