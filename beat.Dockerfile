# Beat: decides which slots are due and heals runs. No Pango, no WeasyPrint, no report code.
#   docker build -f beat.Dockerfile -t report-pipeline-beat .
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pipeline
COPY requirements/beat.txt requirements/build.txt /src/requirements/
RUN /opt/pipeline/bin/pip install --require-hashes -r /src/requirements/beat.txt \
 && python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r /src/requirements/build.txt
COPY pyproject.toml README.md /src/
COPY pipeline /src/pipeline
COPY migrations /src/migrations
COPY templates/_base /src/templates/_base
COPY templates/_notices /src/templates/_notices
RUN cd /src && /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/pipeline/bin/pip install --no-deps /dist/*.whl \
 && /opt/pipeline/bin/pip uninstall -y setuptools pip

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 pipeline && install -d -o pipeline -g pipeline /home/pipeline/home /home/pipeline/home/var /artifacts
COPY --from=build /opt/pipeline /opt/pipeline
# PYTHONTZPATH: every node uses the pinned tzdata package, not the zone files of its system.
ENV PATH=/opt/pipeline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONTZPATH= PIPELINE_HOME=/home/pipeline/home
USER pipeline
WORKDIR /home/pipeline/home
# Beat writes a heartbeat row every ten seconds; silence for a minute is illness.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["pipeline", "health", "beat"]
CMD ["celery", "-A", "pipeline", "beat", "--pidfile="]
