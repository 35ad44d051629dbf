<?xml version="1.0" encoding="UTF-8"?>
<!-- What templates/aurora/inventory-import.xml.j2 makes of a stock XML, without any buffer: the bare rewriting that the
     large benchmarks stand beside. The same elements, order, indentation and numbers; closed items are left out. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="xml" encoding="UTF-8"/>
  <xsl:template match="/Stock">
    <AuroraRequestEnvelope><xsl:text>
  </xsl:text><Requests><xsl:text>
</xsl:text>
      <xsl:for-each select="Item[not(Closed = 'X')]">
        <xsl:text>    </xsl:text>
        <Request><Stock><Update><RequestID><xsl:value-of select="position()"/></RequestID>
          <xsl:if test="string(ItemCode)"><ProductReference><xsl:value-of select="ItemCode"/></ProductReference></xsl:if>
          <xsl:if test="string(Barcode)"><VariationReference><xsl:value-of select="Barcode"/></VariationReference></xsl:if>
          <Stock><xsl:value-of select="sum(Physical) - sum(Reserved) - sum(Prepared)"/></Stock></Update></Stock></Request>
        <xsl:text>
</xsl:text>
      </xsl:for-each>
      <xsl:text>  </xsl:text></Requests><xsl:text>
</xsl:text></AuroraRequestEnvelope>
  </xsl:template>
</xsl:stylesheet>
