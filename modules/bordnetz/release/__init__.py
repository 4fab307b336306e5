"""The release tool: makes and signs what the car verifies.

settings   whose keys sign what (release.json)
database   vehicles, images, campaigns and what was signed and published (release.db)
release    the folder as a whole: one command at a time changes it
signers    keys at work
progress   how far long work is
setup      a new folder
roots      root metadata: chains of keys
rotation   new keys for old ones
export     the roots that vehicles leave the factory with
fleet      vehicles, and where they come from
workspace  files on their way into the payload folder
images     payloads and the ways they travel
campaigns  which vehicle gets what
intake     manifests that come back from the vehicles
canonical  the form in which things are signed
catalogue  the image repository
director   a director repository for each vehicle
signing    one run: everything that is due, signed
publishing the static files, in their order
destination, folder, blob  where they go
status     who has what
command, command_*, terminal  `bordnetz release`
"""
