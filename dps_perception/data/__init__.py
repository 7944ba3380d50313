"""Datasets, bags and augmentation."""
