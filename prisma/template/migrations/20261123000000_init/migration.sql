CREATE TABLE "template" (
  "code" TEXT NOT NULL,
  "default_locale" TEXT NOT NULL,
  "current_version" INTEGER,
  "sensitive" BOOLEAN NOT NULL DEFAULT false,
  "unsubscribable" BOOLEAN NOT NULL DEFAULT false,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "template_pkey" PRIMARY KEY ("code")
);

CREATE TABLE "template_version" (
  "code" TEXT NOT NULL,
  "number" INTEGER NOT NULL,
  "based_on" INTEGER,
  "variables" JSONB NOT NULL DEFAULT '[]',
  "reason" TEXT,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "created_by" TEXT NOT NULL,
  CONSTRAINT "template_version_pkey" PRIMARY KEY ("code", "number"),
  CONSTRAINT "template_version_code_fkey" FOREIGN KEY ("code") REFERENCES "template"("code") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE "template_content" (
  "code" TEXT NOT NULL,
  "number" INTEGER NOT NULL,
  "locale" TEXT NOT NULL,
  "email" JSONB,
  "push" JSONB,
  CONSTRAINT "template_content_pkey" PRIMARY KEY ("code", "number", "locale"),
  CONSTRAINT "template_content_code_number_fkey" FOREIGN KEY ("code", "number") REFERENCES "template_version"("code", "number") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE "template_publication" (
  "code" TEXT NOT NULL,
  "sequence" INTEGER NOT NULL,
  "number" INTEGER NOT NULL,
  "kind" TEXT NOT NULL,
  "reason" TEXT,
  "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "by" TEXT NOT NULL,
  CONSTRAINT "template_publication_pkey" PRIMARY KEY ("code", "sequence"),
  CONSTRAINT "template_publication_code_fkey" FOREIGN KEY ("code") REFERENCES "template"("code") ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT "template_publication_code_number_fkey" FOREIGN KEY ("code", "number") REFERENCES "template_version"("code", "number") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX "template_publication_code_number_sequence_idx" ON "template_publication"("code", "number", "sequence");

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% never changes', TG_TABLE_NAME;
END
$$;

CREATE TRIGGER template_version_never_changes BEFORE UPDATE ON "template_version" FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER template_content_never_changes BEFORE UPDATE ON "template_content" FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER template_publication_never_changes BEFORE UPDATE ON "template_publication" FOR EACH ROW EXECUTE FUNCTION refuse_change();

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
