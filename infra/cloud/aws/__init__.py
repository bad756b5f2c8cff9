"""EC2: instances from fleets of type `instant`, notices from SQS, all through boto3.

A launch describes by tag first and carries our instance id as its client token, so that one that
succeeded after we gave up is found and not repeated. Everything of ours is tagged `tamer:owner` and
`tamer:instance`; nothing else is ever looked at or ended.
"""
