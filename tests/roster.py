"""Lists the models that come with the product: those of trainers/images, and the built-in ones."""

from contracts.settings import Settings

_AS_IT_COMES = Settings(images="trainers/images")
ROSTER = _AS_IT_COMES.roster()
MODELS = ROSTER.names
BATCH_MODELS = ROSTER.batch
IMAGES = _AS_IT_COMES.image_folders()
"""The folder of each batch model."""
