"""Training of single networks with fastai's Learner, and adversarial training of two networks."""
