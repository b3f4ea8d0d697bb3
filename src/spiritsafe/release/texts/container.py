"""Container files that serve a GGUF file with llama.cpp's own server: a Dockerfile and a Compose file.

In: a release. Out: their texts. The image is llama.cpp's (``ghcr.io/ggml-org/llama.cpp:server``); the server runs as
nobody, on a file system that it cannot write, listens on this machine only, and holds no secret: a key for its users is
taken from the environment of whoever starts it (``LLAMA_API_KEY``).
"""

from __future__ import annotations

import re

from spiritsafe.release.contents import Release

DOCKERFILE = "docker/Dockerfile"
COMPOSE_FILE = "docker/compose.yaml"
_IMAGE = "ghcr.io/ggml-org/llama.cpp:server"
_PORT = 8080
_NOBODY = "65532:65532"


def container_files(release: Release) -> dict[str, str]:
    """The texts by their paths, for the first GGUF file; none where there is no such file."""
    served = next((file.path for file in release.files if not file.parts), None)
    if served is None:
        return {}
    return {DOCKERFILE: _dockerfile(release, served), COMPOSE_FILE: _compose(release)}


def _dockerfile(release: Release, served: str) -> str:
    context = f" \\\n    LLAMA_ARG_CTX_SIZE={release.context_length}" if release.context_length else ""
    name = _image_name(release)
    top = [path for path in release.texts if "/" not in path]
    # In a folder of their own: one of them may be called NOTICE as well.
    below = [path for path in release.texts if "/" in path]
    more = f"\nCOPY {' '.join(below)} /licences/more/" if below else ""
    return f"""\
# From the release's top: docker build -f {DOCKERFILE} -t {name} . && docker run -p 127.0.0.1:{_PORT}:{_PORT} {name}
ARG IMAGE={_IMAGE}
FROM ${{IMAGE}}
COPY {" ".join(top)} /licences/
COPY --chmod=0444 {served} /models/model.gguf{more}
ENV LLAMA_ARG_MODEL=/models/model.gguf \\
    LLAMA_ARG_HOST=0.0.0.0 \\
    LLAMA_ARG_PORT={_PORT}{context}
USER {_NOBODY}
EXPOSE {_PORT}
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \\
    CMD ["curl", "-fsS", "http://127.0.0.1:{_PORT}/health"]
ENTRYPOINT ["/app/llama-server"]
"""


def _image_name(release: Release) -> str:
    """The release's name as images are called: lower case, one separator at a time, and none at an end."""
    return re.sub(r"[._-]{2,}", "-", release.name.lower()).strip("._-")


def _compose(release: Release) -> str:
    tag = re.sub(r"^[.-]", "v\\g<0>", release.version.replace("+", "-"))
    return f"""\
# docker compose -f {COMPOSE_FILE} up --build
services:
  model:
    image: "{_image_name(release)}:{tag}"
    build:
      context: ..
      dockerfile: {DOCKERFILE}
    environment:
      - LLAMA_API_KEY
    ports:
      - "127.0.0.1:{_PORT}:{_PORT}"
    user: "{_NOBODY}"
    read_only: true
    tmpfs:
      - /tmp
    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
    restart: unless-stopped
"""
