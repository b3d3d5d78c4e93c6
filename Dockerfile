# One image for every program of Herald; docker-compose.yml says which command each container runs.

# Everything that generates code is needed here, and stays here.
FROM node:24.11.1-bookworm AS build
WORKDIR /herald
COPY package.json package-lock.json ./
COPY scripts ./scripts
RUN npm ci --no-audit --no-fund
COPY . .
# The Node of the image runs it: the one that npm brought is for machines without.
# What is optional is Firestore and Storage of firebase-admin, which nobody here asks for, and Prisma's own command.
RUN npm run setup \
  && npm prune --omit=dev --omit=optional --omit=peer --no-audit --no-fund \
  && node scripts/slim.mjs

FROM node:24.11.1-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /herald
COPY --from=build /herald/package.json /herald/LICENSE /herald/NOTICE ./
COPY --from=build /herald/node_modules ./node_modules
COPY --from=build /herald/cli ./cli
COPY --from=build /herald/client ./client
COPY --from=build /herald/contracts ./contracts
COPY --from=build /herald/gateway ./gateway
COPY --from=build /herald/platform ./platform
COPY --from=build /herald/prisma ./prisma
COPY --from=build /herald/rest ./rest
COPY --from=build /herald/subgraphs ./subgraphs
COPY --from=build /herald/workers ./workers
# Nothing in it is written to: run it with a read-only root.
USER node
CMD ["node", "gateway/main.ts"]
