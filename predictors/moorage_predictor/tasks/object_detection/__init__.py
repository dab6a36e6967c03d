"""Task `object-detection`: encoded images or pixels in; boxes with classes and scores out, also as text and drawn.

wire -> Detector(Images) -> Pictures -> Network.prepare -> Network.forward -> Detections -> wire
                                                                                └-> yolo_text, drawing
"""

from moorage_predictor.tasks.object_detection.detector import Detector
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.types import Detections

__all__ = ["Detections", "Detector", "Options"]
