"""Defences: what stands before a model, as a wrapper of it (Model -> Model), so that attacks can be measured against it."""
