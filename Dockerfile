# One image for every service of compose.yaml; the command says which one runs. What gets in is listed in
# .dockerignore: the entrypoints, what they import, the page and the migrations.
FROM denoland/deno:2.9.6 AS base
WORKDIR /app
ENV DENO_NO_UPDATE_CHECK=1
# Readable by the user `deno`, whatever umask they were checked out with.
COPY --chmod=755 . .
# What only the tests use, and Deno would fetch with the rest: their browser is 90 of 120 MB.
RUN deno remove --lockfile-only @sparticuz/chromium playwright-core pngjs

# A stage of its own: the bundler doesn't get into the image.
FROM base AS page
RUN deno task web

FROM base
COPY --from=page --chmod=755 /app/web/dist web/dist
# Every flat file at the root is an entrypoint, and so is every file of tasks/ that gets in. Their dependencies are
# fetched here, checked against deno.lock; the containers have a read-only file system and start without a download.
RUN deno install --frozen --entrypoint *.ts tasks/*.ts

USER deno
ENTRYPOINT ["deno"]
