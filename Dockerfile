# A gateway, or a worker with its sandboxes; docker-compose.yml and docs/operations.md say how it is run.
#   docker build -t sentient-gateway .
FROM node:22-slim AS page
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM debian:12-slim AS sending
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY gateway/fanout/sockets.c /
RUN cc -O2 -shared -fPIC -o /_sockets.so /sockets.c

FROM debian:12-slim
# A jail shows its task this image's /usr, read-only: what tasks need, belongs here.
RUN apt-get update \
 && apt-get install -y --no-install-recommends bubblewrap python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

# Not below /usr, so that no task sees the service's own code.
COPY . /src
COPY --from=page /src/gateway/server/static /src/gateway/server/static
COPY --from=sending /_sockets.so /src/gateway/fanout/_sockets.so
RUN python3 -m venv /opt/gateway \
 && sed 's/ *\\$//; /--hash/d' /src/requirements.lock > /tmp/constraints.txt \
 && /opt/gateway/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt '/src[postgresql]' \
 && rm -rf /src /tmp/constraints.txt \
 && install -d -o 60800 -g 60800 -m 700 /data

# Nobody's number, and no name: jails run as the same user, without any right.
USER 60800:60800
WORKDIR /
ENV PATH=/opt/gateway/bin:$PATH GATEWAY_DATA_DIR=/data GATEWAY_HOST=0.0.0.0 GATEWAY_LOG_FORMAT=json
EXPOSE 8080
# That the process is sane. Whether it can take work is /readyz, which is the load balancer's to ask: a gateway
# whose database is away is not mended by a restart.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
  ["/opt/gateway/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/gateway/bin/gateway"]
CMD ["serve", "--no-local-sandbox"]
