"""Published versions and aliases through the vendor's own Python client."""

from alibabacloud_fc20230330.client import Client

from tests.emulators.fc.calls import create, get, publish, update


def test_a_version_keeps_what_was_published_while_latest_moves_on(client: Client) -> None:
    create(client, environment_variables={"RELEASE": "a"})
    first = publish(client, description="release-1")
    update(client, environment_variables={"RELEASE": "b"})
    assert get(client, qualifier=first).environment_variables == {"RELEASE": "a"}
    assert get(client).environment_variables == {"RELEASE": "b"}
