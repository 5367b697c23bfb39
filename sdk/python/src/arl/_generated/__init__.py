"""What hack/update-sdk-models.sh generates. Import from arl.models instead."""
