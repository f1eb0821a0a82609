# One image for every process: web (as it stands), grpc, worker, bulk and flower (docker-compose.yml).
FROM python:3.11-slim AS build
WORKDIR /keyturn
COPY requirements/run.txt requirements/
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/run.txt
COPY pyproject.toml LICENSE README.md ./
COPY web ./web
COPY worker ./worker
COPY shared ./shared
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home keyturn \
 && install -d -o keyturn -g keyturn -m 0700 /data
COPY --from=build /venv /venv
COPY deploy/flowerconfig.py /keyturn/deploy/flowerconfig.py
WORKDIR /keyturn
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KEYTURN_HOST=0.0.0.0 \
    KEYTURN_DATA_DIR=/data
USER keyturn
VOLUME /data
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# gRPC, workers and Flower answer no HTTP on this port: docker-compose.yml gives each its own check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('KEYTURN_PORT', '8080') + '/livez', timeout=2)"]
CMD ["python", "-m", "web"]
