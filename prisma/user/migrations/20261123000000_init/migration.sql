CREATE TABLE "user" (
  "id" UUID NOT NULL,
  "name" TEXT NOT NULL,
  "email" TEXT,
  "email_key" TEXT,
  "password_hash" TEXT,
  "locale" TEXT,
  "time_zone" TEXT,
  "email_enabled" BOOLEAN NOT NULL DEFAULT true,
  "push_enabled" BOOLEAN NOT NULL DEFAULT true,
  "preferences_version" INTEGER NOT NULL DEFAULT 1,
  "contact_version" INTEGER NOT NULL DEFAULT 1,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "user_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "user_email_key_key" ON "user"("email_key");

CREATE TABLE "push_token" (
  "id" UUID NOT NULL,
  "user_id" UUID NOT NULL,
  "kind" TEXT NOT NULL CHECK ("kind" IN ('fcm', 'webpush', 'onesignal')),
  "token" TEXT NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "dead_at" TIMESTAMPTZ(3),
  CONSTRAINT "push_token_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "push_token_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE UNIQUE INDEX "push_token_user_id_token_key" ON "push_token"("user_id", "token");
CREATE INDEX "push_token_token_idx" ON "push_token" USING hash ("token");

CREATE TABLE "refresh_token" (
  "hash" BYTEA NOT NULL,
  "user_id" UUID NOT NULL,
  "family" UUID NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "expires_at" TIMESTAMPTZ(3) NOT NULL,
  "used_at" TIMESTAMPTZ(3),
  CONSTRAINT "refresh_token_pkey" PRIMARY KEY ("hash"),
  CONSTRAINT "refresh_token_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX "refresh_token_family_idx" ON "refresh_token"("family");
CREATE INDEX "refresh_token_user_id_idx" ON "refresh_token"("user_id");
CREATE INDEX "refresh_token_expires_at_idx" ON "refresh_token"("expires_at");

-- Search by part of a name or address.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX "user_search" ON "user" USING gin (("name" || ' ' || coalesce("email", '')) gin_trgm_ops);

-- What other places must learn of a user: written with the change itself, deleted when they have.
CREATE TABLE "user_outbox" (
  "id" BIGSERIAL NOT NULL,
  "user_id" UUID NOT NULL,
  "kind" TEXT NOT NULL,
  "version" INTEGER NOT NULL,
  "due_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "user_outbox_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "user_outbox_due_at_idx" ON "user_outbox"("due_at");

CREATE TABLE "api_key" (
  "id" UUID NOT NULL,
  "client_id" TEXT NOT NULL,
  "name" TEXT NOT NULL,
  "prefix" TEXT NOT NULL,
  "hash" BYTEA NOT NULL,
  "scopes" TEXT[],
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "created_by" TEXT NOT NULL,
  "expires_at" TIMESTAMPTZ(3),
  "last_used_at" TIMESTAMPTZ(3),
  "revoked_at" TIMESTAMPTZ(3),
  "revoked_by" TEXT,
  CONSTRAINT "api_key_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "api_key_prefix_key" ON "api_key"("prefix");
CREATE UNIQUE INDEX "api_key_hash_key" ON "api_key"("hash");
CREATE INDEX "api_key_client_id_id_idx" ON "api_key"("client_id", "id");

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
