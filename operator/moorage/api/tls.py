"""The settings of TLS on the predictor's listeners."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TlsSettings(BaseModel):
    """Without any of them HTTP and gRPC are plain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tls_cert_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file with the listeners' certificate, and those up to its authority. With --tls-key-file it makes HTTP "
        "and gRPC speak TLS 1.2 or newer. Files that change are taken up without a restart.",
    )
    tls_key_file: str | None = Field(
        default=None, min_length=1, description="PEM file with the certificate's key, not encrypted."
    )
    tls_client_ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file with the authorities of clients' certificates: clients must show one (mTLS).",
    )
    tls_client_auth: Literal["require", "optional"] = Field(
        default="require",
        description="`optional`: a client may come without a certificate, but not with one of another authority. gRPC then asks "
        "for none.",
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("expected both of --tls-cert-file and --tls-key-file, or neither")
        if self.tls_client_ca_file and self.tls_cert_file is None:
            raise ValueError("expected --tls-cert-file and --tls-key-file with --tls-client-ca-file")
        if self.tls_client_auth != "require" and self.tls_client_ca_file is None:
            raise ValueError("expected --tls-client-ca-file with --tls-client-auth")
        return self
