"""The OpenAPI document and its page, which must work where no other host can be reached."""

import re

from fastapi.testclient import TestClient

from tests.conftest import World


def test_the_page_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"""(?:src|href)=["'](https?:)?//""", page.text) == []
    assets = re.findall(r"""(?:src|href)=["'](/[^"']+)""", page.text)
    assert any(path.endswith(".js") for path in assets)
    assert any(path.endswith(".css") for path in assets)
    for path in assets:
        assert client.get(path).status_code == 200, path


def test_the_root_leads_to_the_page(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_every_operation_is_described_and_named_once(world: World) -> None:
    document = world.client.get("/openapi.json").json()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    assert all(operation.get("summary") for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    written = [o for o in operations if "application/json" in o.get("requestBody", {}).get("content", {})]
    assert written
