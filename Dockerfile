# One image for simulator, master and worker. Build tools stay in the first stage.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY llmbench_locust ./llmbench_locust
RUN python -m venv /opt/llmbench \
    && /opt/llmbench/bin/pip install --no-cache-dir ".[vision,audio]"

FROM python:3.11-slim
ENV PATH=/opt/llmbench/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/results/.cache/huggingface
COPY --from=build /opt/llmbench /opt/llmbench
COPY locustfiles /app/locustfiles
RUN useradd --create-home --uid 10001 llmbench \
    && mkdir /results && chown llmbench /results
USER llmbench
WORKDIR /results
VOLUME /results
EXPOSE 8089 5557 8000
CMD ["locust", "-f", "/app/locustfiles/serve.py"]
