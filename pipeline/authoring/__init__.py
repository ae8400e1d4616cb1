"""What people do before anything runs: new homes and reports, checks, previews, the schema for editors."""
