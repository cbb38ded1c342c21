"""S3 that is started again, as after a kill, is waited for by who makes and who serves versions: nothing of theirs fails."""

import io
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from contracts.settings import Settings
from deploy.local.sagemaker.objects import Objects
from producers.blobs import S3Blobs
from trainers.sdk_environment import TRIES

AWAY = 8
"""How many requests meet nobody."""


class Raw(io.BytesIO):
    """A body, as urllib3 gives it."""

    def stream(self) -> Any:
        yield self.read()


@pytest.mark.parametrize("who", ["trainer", "local SageMaker"])
def test_s3_that_is_away_for_a_while_is_waited_for(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, waited = Settings(aws_services="local", aws_access_key_id="a", aws_secret_access_key="b"), list[float]()
    s3 = S3Blobs(settings, tries=TRIES)._s3 if who == "trainer" else Objects(settings)._client
    monkeypatch.setattr("botocore.endpoint.time.sleep", waited.append)
    asked: list[str] = []

    def sent(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        if len(asked) <= AWAY:
            raise EndpointConnectionError(endpoint_url=request.url)
        return AWSResponse(request.url, 200, {"content-length": "0"}, Raw())

    s3.meta.events.register("before-send.s3", sent)
    s3.put_object(Bucket="gamenight", Key="k", Body=b"v")
    assert (len(asked), len(waited)) == (AWAY + 1, AWAY)
