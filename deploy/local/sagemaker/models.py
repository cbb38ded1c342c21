"""Keeps SageMaker's models: each is an image, the address of an artifact, and environment variables, under a name."""

from typing import Any, Final

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.containers import Images
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import invalid
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.packages import Packages
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags

KIND: Final = "model"
_LISTING: Final = Listing("ModelName", from_then_on=True)


class SageMakerModels:
    """Keeps every model."""

    def __init__(self, state: State, names: Names, images: Images, packages: Packages, tags: Tags) -> None:
        """Keep models in ``state``; they use images of this machine, or model packages."""
        self._state = state
        self._names = names
        self._images = images
        self._packages = packages
        self._tags = tags

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateModel": self.create,
            "DescribeModel": self.describe,
            "ListModels": self.page,
            "DeleteModel": self.delete,
        }

    async def create(self, request: Document) -> Document:
        """Create a model: a container under a name."""
        name = request["ModelName"]
        arn = self._names.arn(KIND, name)
        if self._state.get(KIND, name):
            raise invalid(f'Cannot create already existing model "{arn}".')
        document = {
            "EnableNetworkIsolation": False,
            **request,
            "ModelArn": arn,
            "CreationTime": wire.now(),
            "DeploymentRecommendation": None,
        }
        self.container(document)
        self._tags.hang(arn, request.get("Tags"))
        self._state.put(KIND, name, document)
        return {"ModelArn": arn}

    async def describe(self, request: Document) -> Document:
        """Return a model."""
        return self.get(request["ModelName"])

    async def page(self, request: Document) -> Document:
        """Return a page of models, newest first."""
        models, token = _LISTING.page(self._state.all(KIND), request)
        return {"Models": models, "NextToken": token}

    async def delete(self, request: Document) -> Document:
        """Delete a model; endpoints that serve it keep running."""
        document = self.get(request["ModelName"])
        self._state.drop(KIND, document["ModelName"])
        self._tags.forget(document["ModelArn"])
        return {}

    def get(self, name: str) -> Document:
        """Find a model by name."""
        document = self._state.get(KIND, name)
        if document is None:
            raise invalid(f'Could not find model "{self._names.arn(KIND, name)}".')
        return document

    def container(self, model: Document) -> Document:
        """Return the container to run for a model: Image, ModelDataUrl or None, Environment.

        Raises:
            AwsError: ValidationException, if the model is a pipeline, or its image or package is not here.
        """
        several = model.get("Containers", [])
        if len(several) > 1:
            raise invalid("Inference pipelines of several containers are not on this machine: give one container")
        given = model.get("PrimaryContainer") or (several[0] if several else None)
        if given is None:
            raise invalid("A model needs a PrimaryContainer")
        if "ModelPackageName" in given:
            package = self._packages.get(given["ModelPackageName"])
            given = package["InferenceSpecification"]["Containers"][0] | given
        if "Image" not in given:
            raise invalid("The container needs an Image or a ModelPackageName")
        self._images.name(given["Image"])  # an image that is not installed fails the endpoint, which says why
        source = given.get("ModelDataSource", {}).get("S3DataSource", {})
        return {
            "Image": given["Image"],
            "ModelDataUrl": given.get("ModelDataUrl") or source.get("S3Uri"),
            "Environment": given.get("Environment", {}),
        }
