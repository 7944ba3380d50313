"""Scores and reports: PQ, DPQ, depth errors, mIoU; pictures and an HTML page of them."""

from .evaluator import DPQ_LAMBDAS, MAX_DEPTH_M, Evaluator
from .scores import Scores

__all__ = ["DPQ_LAMBDAS", "MAX_DEPTH_M", "Evaluator", "Scores"]
