"""Image operations shared by the predictors: normalise, crop, resample, rasterise, clean up."""
