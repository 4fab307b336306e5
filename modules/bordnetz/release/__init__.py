"""The release tool: makes and signs what the car verifies.

settings   whose keys sign what (release.json)
database   vehicles, images, campaigns and what was signed and published (release.db)
release    the folder as a whole: one command at a time changes it
signers    keys at work
fleet      vehicles, and where they come from
images     payloads and the ways they travel
campaigns  which vehicle gets what
intake     manifests that come back from the vehicles
roots      root metadata: chains of keys
catalogue  the image repository
director   a director repository for each vehicle
signing    one run: everything that is due, signed
publishing the static files, in their order
folder, blob  where they go
status     who has what
"""
