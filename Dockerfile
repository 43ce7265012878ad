# One image for every service of compose.yaml; the command says which one runs. What gets in is listed in
# .dockerignore: the entrypoints, what they import, and the migrations.
FROM denoland/deno:2.9.6

WORKDIR /app
ENV DENO_NO_UPDATE_CHECK=1
COPY . .

# Every flat file at the root is an entrypoint. Their dependencies are fetched here, checked against deno.lock;
# the containers have a read-only file system and start without a download.
RUN deno install --frozen --entrypoint *.ts tasks/migrate.ts tasks/topics.ts

USER deno
ENTRYPOINT ["deno"]
