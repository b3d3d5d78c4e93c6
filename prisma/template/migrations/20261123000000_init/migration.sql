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
