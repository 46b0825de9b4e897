"""Shows two pages: one to try a classifier, one about the paths; neither loads anything from another host."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

ASSETS = Path(__file__).parent / "assets"
FILES = {
    "/": ("try.html", "text/html"),
    "/try.css": ("try.css", "text/css"),
    "/try.js": ("try.js", "text/javascript"),
}
DOCS = "docs.html"
# A page runs its own script and asks its own server, whatever a text or a label says.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def pages(app: FastAPI) -> list[Route]:
    """The routes of all pages and their files."""
    return [
        *(Route(path, partial(_file, *file)) for path, file in FILES.items()),
        Route("/docs", partial(_docs, app)),
    ]


async def _file(name: str, kind: str, request: Request) -> Response:  # noqa: ARG001 - what a route is given
    return Response((ASSETS / name).read_bytes(), media_type=kind, headers=HEADERS)


async def _docs(app: FastAPI, request: Request) -> Response:  # noqa: ARG001 - what a route is given
    return HTMLResponse(docs_page(app.openapi()), headers=HEADERS)


def docs_page(described: dict[str, Any]) -> str:
    """The page about the paths that OpenAPI describes: FastAPI's own takes Swagger UI from another host."""
    templates = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["written"] = partial(json.dumps, ensure_ascii=False)
    return templates.get_template(DOCS).render(api=described, schemas=described["components"]["schemas"])
