-- What workers may, in whole: they may call these and change nothing else. Run after the migrations, every time, for a dump of a database
-- brings neither roles nor, where they are missing, what is granted to them.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'herald_worker') THEN
    CREATE ROLE herald_worker NOLOGIN;
  END IF;
EXCEPTION
  -- Another database's migration was quicker.
  WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO herald_worker;
GRANT EXECUTE ON FUNCTION claim_jobs, start_attempts, keep_outcomes, release_claims, unreachable_targets, note_provider TO herald_worker;
