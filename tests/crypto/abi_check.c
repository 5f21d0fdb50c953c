/* Compares qatprep/native/cpa.h with qatlib's own headers. Compiling it is the test: gcc -fsyntax-only -I/usr/include/qat */
#include <cpa.h>
#include <cpa_cy_im.h>
#include <cpa_cy_rsa.h>

#undef CPA_STATUS
#include "../../qatprep/native/cpa.h"

#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #ours " has another size")
#define SAME_PLACE(ours, a, theirs, b) \
    _Static_assert(offsetof(ours, a) == offsetof(theirs, b), #ours "." #a " is elsewhere")

SAME_SIZE(struct cpa_buffer, CpaFlatBuffer);
SAME_PLACE(struct cpa_buffer, data, CpaFlatBuffer, pData);
SAME_SIZE(struct cpa_rsa_key, CpaCyRsaPrivateKey);
SAME_PLACE(struct cpa_rsa_key, type, CpaCyRsaPrivateKey, privateKeyRepType);
SAME_PLACE(struct cpa_rsa_key, n, CpaCyRsaPrivateKey, privateKeyRep1.modulusN);
SAME_PLACE(struct cpa_rsa_key, d, CpaCyRsaPrivateKey, privateKeyRep1.privateExponentD);
SAME_PLACE(struct cpa_rsa_key, p, CpaCyRsaPrivateKey, privateKeyRep2.prime1P);
SAME_PLACE(struct cpa_rsa_key, q, CpaCyRsaPrivateKey, privateKeyRep2.prime2Q);
SAME_PLACE(struct cpa_rsa_key, dp, CpaCyRsaPrivateKey, privateKeyRep2.exponent1Dp);
SAME_PLACE(struct cpa_rsa_key, dq, CpaCyRsaPrivateKey, privateKeyRep2.exponent2Dq);
SAME_PLACE(struct cpa_rsa_key, qinv, CpaCyRsaPrivateKey, privateKeyRep2.coefficientQInv);
SAME_SIZE(struct cpa_rsa_decrypt, CpaCyRsaDecryptOpData);
SAME_PLACE(struct cpa_rsa_decrypt, input, CpaCyRsaDecryptOpData, inputData);
SAME_SIZE(struct cpa_info, CpaInstanceInfo2);
SAME_PLACE(struct cpa_info, version, CpaInstanceInfo2, swVersion);
SAME_PLACE(struct cpa_info, name, CpaInstanceInfo2, instName);
SAME_PLACE(struct cpa_info, bus, CpaInstanceInfo2, physInstId.busAddress);
SAME_PLACE(struct cpa_info, node, CpaInstanceInfo2, nodeAffinity);
SAME_PLACE(struct cpa_info, polled, CpaInstanceInfo2, isPolled);
SAME_PLACE(struct cpa_info, offloaded, CpaInstanceInfo2, isOffloaded);
SAME_PLACE(struct cpa_capabilities, rsa, CpaCyCapabilitiesInfo, rsaSupported);
_Static_assert(sizeof(struct cpa_capabilities) >= sizeof(CpaCyCapabilitiesInfo), "capabilities have outgrown their room");
_Static_assert(CPA_RETRY == CPA_STATUS_RETRY && CPA_RESTARTING == CPA_STATUS_RESTARTING, "status values differ");
_Static_assert((int)CPA_RSA_TWO_PRIME == (int)CPA_CY_RSA_VERSION_TWO_PRIME, "RSA version differs");
_Static_assert((int)CPA_RSA_KEY_CRT == (int)CPA_CY_RSA_PRIVATE_KEY_REP_TYPE_2, "key representation differs");
