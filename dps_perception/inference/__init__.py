"""Running networks on images: predictor, evaluation command, benchmark."""
