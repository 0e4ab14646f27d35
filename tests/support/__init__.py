"""What several tests share: models whose truth is known, slow references, made-up records."""
