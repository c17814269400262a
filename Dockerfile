# The wheel is built in one stage and installed, with its locked and hashed requirements, into an environment that the other
# stage takes: the image that runs has neither compilers nor sources. Nothing is written at run time, so that its root file
# system can be read-only.
#
# The one line that names the base. A tag moves; a digest behind it (python:3.13-slim-trixie@sha256:…) makes every build one of
# the same base, and is best written by an update bot that pins digests, since it also has to be renewed for Debian's security
# fixes. --build-arg PYTHON=… builds on a mirror.
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements ./requirements
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements/runtime.lock \
 && pip install --no-cache-dir --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY schemas ./schemas
COPY docs/operations.md ./docs/operations.md
COPY deploy/image/notices.py ./deploy/image/notices.py
COPY stream_capi ./stream_capi
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /venv/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && /venv/bin/pip check \
 && /venv/bin/pip uninstall --yes pip \
 && /venv/bin/python deploy/image/notices.py /venv/share/doc/stream-capi

FROM ${PYTHON}
RUN groupadd --gid 10001 capi && useradd --uid 10001 --gid capi --no-create-home --shell /usr/sbin/nologin capi
COPY --from=build /venv /venv
# A container is probed from outside, so the admin server's default is all addresses there, of IPv4 and IPv6. A default lies
# beneath the file: `admin.host` in the settings wins.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STREAM_CAPI_DEFAULT__ADMIN__HOST=::
USER 10001:10001
EXPOSE 9464
# It asks where the settings say that the admin server listens: the file of CMD below, and the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-m", "stream_capi.healthcheck", "/etc/stream-capi/stream-capi.toml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["stream-capi"]
CMD ["run", "--config", "/etc/stream-capi/stream-capi.toml"]
