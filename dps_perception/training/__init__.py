"""Training: targets, matching, losses, Lightning module, command."""
