# The tasks and the migrations, for a job that runs them: docker build --tag kernel-migrations .
# Settings come from the environment of the container. Nothing secret is in the image, no .env file is copied.
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml README.md LICENSE aibos_kernel_pytest.py tasks.py ./
COPY kernel kernel
RUN pip install --no-cache-dir . \
    && rm -r kernel \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin migrations
COPY migrations migrations

# In numbers, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["inv"]
CMD ["db.migrate"]
