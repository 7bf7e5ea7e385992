"""Training: against the originals and of the critic (fastai's Learner), then both together."""
