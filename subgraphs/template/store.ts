import { PrismaPg } from '@prisma/adapter-pg';
import type { Pool } from '../../platform/postgres.ts';
import { Prisma, PrismaClient } from '../../prisma/template/generated/client.ts';

export type TemplateStore = ReturnType<typeof createStore>;

/** Everything that touches templates_db. */
export function createStore(pool: Pool) {
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });

  return {
    /** Creates a template with its published version 1; null when the code is taken. */
    async insertTemplate(template: NewTemplate): Promise<TemplateRow | null> {
      const { code, locale, email, push, sensitive, unsubscribable, createdBy } = template;
      try {
        return await prisma.template.create({
          data: {
            code,
            defaultLocale: locale,
            currentVersion: 1,
            sensitive,
            unsubscribable,
            versions: {
              create: {
                number: 1,
                createdBy,
                contents: { create: { locale, email: email ?? Prisma.DbNull, push: push ?? Prisma.DbNull } },
              },
            },
          },
        });
      } catch (error) {
        if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return null;
        throw error;
      }
    },

    /** One statement for any number of calls made in one turn. */
    findTemplate: (code: string): Promise<TemplateRow | null> => prisma.template.findUnique({ where: { code } }),

    findVersion: async (code: string, number: number): Promise<VersionRow | null> =>
      (await prisma.templateVersion.findUnique({
        where: { code_number: { code, number } },
        include: { template: true, contents: { orderBy: { locale: 'asc' } } },
      })) as VersionRow | null,

    stop: () => prisma.$disconnect(),
  };
}

export type TemplateRow = Prisma.TemplateGetPayload<object>;

/** The JSON columns hold what create-template.ts checked. */
export type VersionRow = Omit<Prisma.TemplateVersionGetPayload<{ include: { template: true } }>, 'contents'> & {
  contents: ContentRow[];
};

export type ContentRow = { locale: string; email: EmailParts | null; push: PushParts | null };

export type EmailParts = { subject: string; html: string; text: string | null };

export type PushParts = {
  title: string;
  body: string;
  image: string | null;
  link: string | null;
  data: Prisma.InputJsonObject | null;
  ttlSeconds: number | null;
  collapseKey: string | null;
};

export type NewTemplate = {
  code: string;
  locale: string;
  email: EmailParts | null;
  push: PushParts | null;
  sensitive: boolean;
  unsubscribable: boolean;
  createdBy: string;
};
