# The local sandbox in a container; see docs/sandbox.md for what it must be allowed:
#   docker build -f deploy/sandbox.Dockerfile -t sandbox .
#   docker run --rm -p 127.0.0.1:8090:8090 -e SANDBOX_TOKEN=… \
#     --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
#     --cap-drop ALL --memory 4g --pids-limit 2048 sandbox
FROM debian:12-slim

# A jail shows its task this image's /usr, read-only: what tasks need, belongs here.
RUN apt-get update \
 && apt-get install -y --no-install-recommends bubblewrap python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

# Not below /usr, so that no task sees the service's own code.
COPY . /src
RUN python3 -m venv /opt/sandbox \
 && sed 's/ *\\$//; /--hash/d' /src/requirements.lock > /tmp/constraints.txt \
 && /opt/sandbox/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt /src \
 && rm -rf /src /tmp/constraints.txt

# Nobody's number, and no name: jails run as the same user, without any right.
USER 60800:60800
WORKDIR /
ENV SANDBOX_HOST=0.0.0.0
EXPOSE 8090
ENTRYPOINT ["/opt/sandbox/bin/sandbox-bridge", "serve"]
