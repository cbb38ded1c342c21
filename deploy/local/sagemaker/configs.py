"""Keeps endpoint configs: which models an endpoint serves, and in what shares. An endpoint is updated from one to another."""

from typing import Any, Final

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import invalid
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.models import SageMakerModels
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags

KIND: Final = "endpoint-config"
_LISTING: Final = Listing("EndpointConfigName", from_then_on=True)


class Configs:
    """Keeps every endpoint config."""

    def __init__(self, state: State, names: Names, models: SageMakerModels, tags: Tags) -> None:
        """Keep configs in ``state``; their variants name models of ``models``."""
        self._state = state
        self._names = names
        self._models = models
        self._tags = tags

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateEndpointConfig": self.create,
            "DescribeEndpointConfig": self.describe,
            "ListEndpointConfigs": self.page,
            "DeleteEndpointConfig": self.delete,
        }

    async def create(self, request: Document) -> Document:
        """Create a config with its variants."""
        name = request["EndpointConfigName"]
        arn = self._names.arn(KIND, name)
        if self._state.get(KIND, name):
            raise invalid(f'Cannot create already existing endpoint configuration "{arn}".')
        if request.get("AsyncInferenceConfig"):
            raise invalid("Asynchronous inference is not on this machine")
        if (capture := request.get("DataCaptureConfig")) and not capture["DestinationS3Uri"].startswith("s3://"):
            raise invalid(f"DestinationS3Uri {capture['DestinationS3Uri']} is no s3:// address")
        variants, shadows = request.get("ProductionVariants", []), request.get("ShadowProductionVariants", [])
        names = [variant["VariantName"] for variant in (*variants, *shadows)]
        if not variants or len(set(names)) != len(names):
            raise invalid("ProductionVariants need one variant at least, and each a name of its own")
        if shadows and (len(variants), len(shadows)) != (1, 1):
            raise invalid("With ShadowProductionVariants there is one production variant and one shadow variant")
        for variant in (*variants, *shadows):
            if "ModelName" not in variant or "ServerlessConfig" in variant:
                raise invalid(f"Variant {variant['VariantName']}: only instances that serve a ModelName are on this machine")
            self._models.get(variant["ModelName"])
        if sum(variant.get("InitialVariantWeight", 1.0) for variant in variants) <= 0:
            raise invalid("At least one production variant must have a weight above 0")
        document = {**request, "EndpointConfigArn": arn, "CreationTime": wire.now()}
        self._tags.hang(arn, request.get("Tags"))
        self._state.put(KIND, name, document)
        return {"EndpointConfigArn": arn}

    async def describe(self, request: Document) -> Document:
        """Return a config."""
        return self.get(request["EndpointConfigName"])

    async def page(self, request: Document) -> Document:
        """Return a page of configs, newest first."""
        configs, token = _LISTING.page(self._state.all(KIND), request)
        return {"EndpointConfigs": configs, "NextToken": token}

    async def delete(self, request: Document) -> Document:
        """Delete a config; endpoints that were made from it keep running."""
        document = self.get(request["EndpointConfigName"])
        self._state.drop(KIND, document["EndpointConfigName"])
        self._tags.forget(document["EndpointConfigArn"])
        return {}

    def get(self, name: str) -> Document:
        """Find a config by name."""
        document = self._state.get(KIND, name)
        if document is None:
            raise invalid(f'Could not find endpoint configuration "{self._names.arn(KIND, name)}".')
        return document
