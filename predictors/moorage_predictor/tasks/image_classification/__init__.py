"""Task `image-classification`: encoded images, pixels or prepared tensors in; classes with confidences out.

wire -> ImageClassifier(Images) -> Prepare (images or jpeg, Preprocess) -> Network.forward -> Classification -> wire
"""

from moorage_predictor.tasks.image_classification.asked import PLAIN, Asked, Attention
from moorage_predictor.tasks.image_classification.classifier import Classification, ImageClassifier, Limits
from moorage_predictor.tasks.image_classification.types import EncodedImages, Images, PixelImages, PreparedImages

__all__ = [
    "PLAIN",
    "Asked",
    "Attention",
    "Classification",
    "EncodedImages",
    "ImageClassifier",
    "Images",
    "Limits",
    "PixelImages",
    "PreparedImages",
]
