# The worker: fetches, renders (Pango, WeasyPrint) and delivers. Also runs `pipeline migrate`, `sync` and the rest.
#   docker build -f worker.Dockerfile -t report-pipeline-worker .
# A team's own home is two lines on top: FROM report-pipeline-worker, COPY --chown=pipeline . /home/pipeline/home
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pipeline
COPY requirements/worker.txt requirements/build.txt /src/requirements/
RUN /opt/pipeline/bin/pip install --require-hashes -r /src/requirements/worker.txt \
 && python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r /src/requirements/build.txt
COPY pyproject.toml README.md /src/
COPY pipeline /src/pipeline
COPY migrations /src/migrations
COPY templates/_base /src/templates/_base
COPY templates/_notices /src/templates/_notices
RUN cd /src && /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/pipeline/bin/pip install --no-deps /dist/*.whl

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fontconfig fonts-liberation fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 pipeline \
 && install -d -o pipeline -g pipeline /home/pipeline/home /home/pipeline/home/var /artifacts
COPY --from=build /opt/pipeline /opt/pipeline
# PYTHONTZPATH: every node uses the pinned tzdata package, not the zone files of its system.
ENV PATH=/opt/pipeline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONTZPATH= PIPELINE_HOME=/home/pipeline/home
USER pipeline
WORKDIR /home/pipeline/home
# Asks this container's own worker for a pong.
HEALTHCHECK --interval=30s --timeout=20s --start-period=30s CMD ["pipeline", "health", "worker"]
CMD ["celery", "-A", "pipeline", "worker", "-Q", "default,render,deliver", "--without-gossip", "--without-mingle", "-E"]
