"""Makes buckets where they are missing: `python buckets.py NAME ...`, at the server that AWS_ENDPOINT_URL names."""

import sys

import boto3


def main(names: list[str]) -> None:
    """Makes those of the buckets that are not there."""
    client = boto3.client("s3")
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in names:
        if name not in there:
            client.create_bucket(Bucket=name)
            sys.stdout.write(f"made the bucket {name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
